-- After every deployment, whatever it changed.
call {{ retail }}.governance.guard_marts();
