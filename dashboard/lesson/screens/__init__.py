"""One screen a step, of the records that the modules beside this folder make."""
