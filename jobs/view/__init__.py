"""`factory view`: volumes of a lake in a browser, served on loopback alone."""
