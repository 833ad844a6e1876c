"""The fault tests: what the project promises, under the faults it promises it for. README.md says how to write one."""
