"""How Sphinx makes a site of these pages: `make docs`."""

project = "CT Factory"
author = "CT Factory contributors"
copyright = "CT Factory contributors, Apache-2.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/README.md"]

# Anchors of headings, as they are written in links: [...](ingest.md#lidc-idri).
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = "CT Factory"
html_show_sphinx = False
html_copy_source = False
# Pages are read behind firewalls: nothing is fetched from elsewhere.
html_theme_options = {"footer_icons": []}

nitpicky = True
