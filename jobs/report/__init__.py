"""`factory report`: one page on what a lake holds."""
