"""`python -m fervt_lib` is the command `fervt`; `accelerate launch -m` and torchrun need it so."""

from .cli import main

main()
