"""How far two sets of volumes lie apart: statistics of features and of errors, whatever made them."""
