"""Networks small enough to export often."""

import pytest

from mobileone.model.create import create_model


@pytest.fixture
def network(tiny):
    """The tiny network at 32 px in eval mode, fused; its logits do depend on the picture."""
    model = create_model(tiny, num_classes=7, form="inference").eval()
    model.set_input_size(32)
    return model
