"""Pages that people read: templates, one style, pictures as SVG and data URLs. Jinja is imported by templates.py alone."""
