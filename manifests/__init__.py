"""The manifest: its schema, reading, writing, validation, patient split and mixing. pyarrow only."""
