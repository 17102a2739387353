"""The differences of trax's models, one file a family: a `TraxQuirks` and the module it builds.

Only models with trax's weights need any of this. A quirk is a field that is off by default; the
module is a subclass of the family's that overrides the methods concerned.
"""
