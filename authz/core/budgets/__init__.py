"""Budgets of tokens and money: prices, estimates of routes, and settlement after the response."""
