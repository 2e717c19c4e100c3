"""Licences that others' weights come under, by the names that manifests and checkpoints keep."""

APPLE_LICENCE = "Apple's, see apple/ml-mobileone"

LICENCES = {"apple": APPLE_LICENCE, "apache-2.0": "Apache-2.0"}
"""Those whose wording is at hand, see `checkpoint.published.licence_text`, and what people call them."""
