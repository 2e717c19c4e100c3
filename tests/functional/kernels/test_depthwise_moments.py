import torch

from mobileone.functional.kernels.depthwise_moments import depthwise_moments, depthwise_moments_backward_
from mobileone.functional.window import Window


def test_results_do_not_depend_on_the_number_of_threads():
    x, window = torch.randn(5, 24, 13, 13), Window((3, 3), (2, 2), (1, 1))
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(depthwise_moments(x, window.flat())[2])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_operators_are_registered_as_torch_wants_them():
    x = torch.randn(2, 5, 6, 7)
    window = Window((3, 3), (2, 2), (1, 1)).flat()
    torch.library.opcheck(depthwise_moments, (x, window))
    grad, slopes, offsets = torch.zeros_like(x), torch.randn(5, 9, 9), torch.randn(5, 9)
    grad = grad.contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(depthwise_moments_backward_, (grad, x, torch.zeros(5), slopes, offsets, window))
