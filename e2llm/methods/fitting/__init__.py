"""Fitting: how rivals with weights of their own are trained; no methods here."""
