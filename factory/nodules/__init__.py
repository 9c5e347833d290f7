"""Nodules of a layout: measured, kept in banks of shapes, and placed into lungs."""
