"""LIDC-IDRI: what up to four radiologists marked on one CT, and what they agree on."""
