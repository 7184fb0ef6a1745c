"""`python -m fervt_lib` runs the `fervt` command; `accelerate launch -m` and torchrun need this form."""

from .cli import main

main()
