"""`factory doctor`: whether a machine is fit for the factory, and what to do where it is not."""
