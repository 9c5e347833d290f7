"""Lungs and nodules that were drawn on a DICOM series: DICOM SEG and RTSTRUCT."""
