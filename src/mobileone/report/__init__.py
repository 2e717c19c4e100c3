"""Primitives of reports for people: figures, tables and pages. What a stage shows is drawn in that stage."""
