"""The reference trains in a thread beside imports of the main one."""

import importlib
import sys
import threading

from serplatform.api.execute import _finish_imports


def test_a_package_that_another_thread_imports_is_waited_for(tmp_path, monkeypatch):
    code = "import time\nstarted = True\ntime.sleep(0.3)\nclass DataFrame:\n    pass\n"
    (tmp_path / "half_imported.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    thread = threading.Thread(target=importlib.import_module, args=("half_imported",))
    thread.start()
    while not hasattr(sys.modules.get("half_imported"), "started"):
        pass
    assert not hasattr(sys.modules["half_imported"], "DataFrame")
    _finish_imports("of_no_such_name", "half_imported")
    assert hasattr(sys.modules["half_imported"], "DataFrame")
    thread.join()
    monkeypatch.delitem(sys.modules, "half_imported")
