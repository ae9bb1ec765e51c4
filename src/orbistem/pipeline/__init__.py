"""The only place where the steps meet: fit a scan, apply a trained model to another one."""
