"""What a segmentation of nodules is judged by: scores of a case, and what many of them say."""
