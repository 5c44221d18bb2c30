"""Fine-tuning: a base model and a dataset version become an adapter, a merged model and its compressed forms."""
