r"""lm-evaluation-harness: every one of its tasks, with each request's document compressed.

It needs the extra `e2llm[lm-eval]`. The harness (0.4.13) finds models in its own registry alone: it
has no plug-ins, and `--include_path` imports tasks only. So its command line is run by this
package, which registers the model `e2llm` first and takes the same options:

    python -m e2llm.integrations.lm_eval --model e2llm --tasks longbench_hotpotqa --limit 20 \
        --model_args pretrained=smol,ratio=8,expand=0

In Python `import e2llm.integrations.lm_eval` is enough before
`lm_eval.simple_evaluate(model="e2llm", ...)`.

RULER's tasks make their texts with a tokenizer that they load by name: of `pretrained` where that
is a folder that `E2LLM.save` wrote; else name such a folder with
`--metadata '{"tokenizer": "FOLDER", "max_seq_lengths": [4096]}'`.

What of a request is the document is said in `requests`; which groups of tasks were checked, in the
documentation of this integration.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

from e2llm.errors import MissingPackageError
from e2llm.evaluation.metrics import normalise

try:
    importlib.import_module("lm_eval.api.model")
except ImportError as error:
    raise MissingPackageError(
        "the harness needs the package lm-eval: pip install 'e2llm[lm-eval]'."
    ) from error

from e2llm.integrations.lm_eval.model import CompressingLM

__all__ = ["CompressingLM"]


def _restore_squad_metrics() -> None:
    """Put back what SCROLLS' tasks import of transformers: the normalisation of an answer.

    From version 5 on it has no SQuAD metrics.
    """
    name = "transformers.data.metrics"
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        metrics, squad = ModuleType(name), ModuleType(f"{name}.squad_metrics")
        vars(squad)["normalize_answer"] = lambda text: " ".join(normalise(text))
        vars(metrics)["squad_metrics"] = squad
        sys.modules[name] = metrics


_restore_squad_metrics()
