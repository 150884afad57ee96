"""From a recipe and a data folder to a run. Needs torch."""

import logging

# torchao announces at import that GPU kernels for other machines do not load here; nothing of ours uses them.
logging.getLogger("torchao").setLevel(logging.ERROR)
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
