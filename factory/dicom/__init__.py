"""CT series out of DICOM files: found, chosen, stacked to HU, and their identities hashed."""
