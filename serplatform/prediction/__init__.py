"""New audio in, named posteriors out; and the bundles that carry a system elsewhere."""
