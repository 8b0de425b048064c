"""Pictures of panels, drawn with Matplotlib: for the page (SVG) and for papers (SVG, PDF, PNG).

``colours`` of both; ``plot`` lays a plot out, ``traces`` fills it; start at ``panel``.
"""
