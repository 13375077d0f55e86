"""Classes of other packages behind Footnote's doors: bounded, named in errors, and shown what their caller may see."""
