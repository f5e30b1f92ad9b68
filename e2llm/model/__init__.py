"""The model classes, native to transformers and registered with its Auto classes on import."""

from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from e2llm.model.checkpoint import load_light
from e2llm.model.configuration import E2LLMConfig
from e2llm.model.modeling import E2LLMForCausalLM
from e2llm.model.processing import E2LLMProcessor

# Handed in: the model class itself knows no checkpoint that names its bases.
E2LLMForCausalLM.load_light = staticmethod(load_light)
AutoConfig.register(E2LLMConfig.model_type, E2LLMConfig, exist_ok=True)
AutoModelForCausalLM.register(E2LLMConfig, E2LLMForCausalLM, exist_ok=True)
AutoProcessor.register(E2LLMConfig, E2LLMProcessor, exist_ok=True)

__all__ = ["E2LLMConfig", "E2LLMForCausalLM", "E2LLMProcessor"]
