"""Ways to draw a volume, each behind one interface; `[generate] synthesizer` names one."""
