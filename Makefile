# Everything a newcomer needs: make demo, make test. Both set up .venv on the first run and need no network after it.
.PHONY: help demo test check faults bench wheel clean

help:
	@echo "make demo    enrol from a badge photo, show the camera other pictures, watch HR's feed"
	@echo "make test    run the tests"
	@echo "make check   formatting, lint, types and import arrows, as in .ci/run"
	@echo "make faults  every fault test at length, and the table of what that proves"
	@echo "make bench   milliseconds per stage on this machine"
	@echo "make wheel   build the wheel, install it away from the checkout and test it there"
	@echo "make clean   remove .venv and what was built"

demo:
	@scripts/setup kiosk
	@.venv/bin/glancein demo

test:
	@scripts/setup dev
	@.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

check:
	@scripts/setup dev
	@scripts/check

faults:
	@scripts/setup dev
	@.venv/bin/python -m pytest tests/faults/test_backlog.py --heavy
	@.venv/bin/python -m pytest -n 3 --dist loadfile --ignore tests/faults/test_backlog.py \
		tests/faults tests/device/test_signatures.py --heavy $(ARGS)

bench:
	@scripts/setup kiosk
	@.venv/bin/glancein bench

wheel:
	@scripts/setup dev
	@scripts/check-wheel

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
