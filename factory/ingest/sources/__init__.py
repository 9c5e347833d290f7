"""Find the cases of a folder, in each of the layouts that people have.

nnunet             imagesTr/NAME_0000.nii.gz   labelsTr/NAME.nii.gz   dataset.json
lung_ddpm          CT/ID.nii.gz                SEG/ID.nii.gz          0 background, 1 lung, 2 nodule
total_segmentator  ID/ct.nii.gz                ID/segmentations/lung_upper_lobe_left.nii.gz ...
luna16             subset*/SERIESUID.mhd       seg-lungs-LUNA16/SERIESUID.mhd
by_name            NAME_ct.nii.gz              NAME_lung*  NAME_nodule*  NAME_tumor*
beside_series      a folder of DICOM files, with NIfTI masks in or beside it
"""

from factory.ingest.sources.case import DrawnMasks, Findings, SourceCase
from factory.ingest.sources.find import find_cases
from factory.ingest.sources.patients import read_patients

__all__ = ["DrawnMasks", "Findings", "SourceCase", "find_cases", "read_patients"]
