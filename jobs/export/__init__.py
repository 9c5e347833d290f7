"""`factory export`: volumes as files that other tools read."""
