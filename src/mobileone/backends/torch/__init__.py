"""Programs of torch.export, run by PyTorch."""
