"""Experiments: what administrators try by hand to understand a limit, each one command with figures and a chart.

Each module has one: a part that touches the world and gives evidence, and a pure part that makes an `Experiment` of it.
"""
