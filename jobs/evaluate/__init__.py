"""`factory evaluate`: how good a synthetic set is, and whether it copies."""
