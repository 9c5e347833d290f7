"""What a segmentation network makes of a mix of real and synthetic volumes."""
