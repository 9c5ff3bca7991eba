"""The field's own benchmarks, read from local files in their sources' own fields; nothing is fetched.

Prompts and delimiters are those of lm-evaluation-harness 0.4.13 for the task of the same name, white space
included; where it has none, the module names the paper whose form is taken.
"""
