"""From a question to an answer: ranking, plan, prompt, answer."""
