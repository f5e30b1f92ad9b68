"""From a long text to soft tokens: encoder, pooling and adapter, once."""
