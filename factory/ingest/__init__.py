"""From what hospitals have to a `Case` on the model grid."""
