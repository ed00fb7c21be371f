(lambda own: exec(own["code"], own))(  # noqa: PLC3002 - as it binds no name
    {
        "code": r"""
import builtins, datetime, gc, json, locale, logging, os, resource, signal, sys, threading, time, warnings
shell = sys.modules["IPython"].get_ipython()
names = shell.user_ns
told = {
    "names": {name: str(type(value)) for name, value in names.items()},
    "simple": {name: repr(value) for name, value in names.items() if isinstance(value, (str, int, list, dict, tuple))
               and name not in ("In", "Out", "_ih", "_oh", "_i", "_i1", "__builtins__", "__builtin__")},
    "hidden": sorted(shell.user_ns_hidden),
    "history": [len(shell.history_manager.input_hist_raw), len(shell.history_manager.output_hist)],
    "count": shell.execution_count,
    "who": shell.run_line_magic("who_ls", ""),
    "session": shell.history_manager.session_number > 0,
    "directory": [os.getcwd(), shell.starting_dir, repr(shell.history_manager.dir_hist), os.environ.get("PWD")],
    "environment": dict(os.environ),
    "path": sys.path, "argv": sys.argv, "flags": str(sys.flags), "executable": sys.executable,
    "modules": sorted(sys.modules),
    "filters": [str(one) for one in warnings.filters],
    "hooks": [str(sys.excepthook), str(sys.displayhook), str(builtins.input), str(sys.stdout), str(sys.stderr)],
    "callbacks": {kind: [getattr(one, "__qualname__", str(one)) for one in ones]
                  for kind, ones in shell.events.callbacks.items()},
    "last": [hasattr(sys, "last_exc"), hasattr(sys, "last_value"), str(shell.last_execution_succeeded)],
    "extensions": sorted(shell.extension_manager.loaded),
    "signals": {str(one): str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)},
    "threads": sorted(one.name.partition("_")[0].partition("-")[0] for one in threading.enumerate()),
    "locale": [locale.setlocale(locale.LC_ALL), time.tzname, sys.getfilesystemencoding(), sys.stdout.encoding],
    "umask": os.umask(os.umask(0o22)), "nice": os.nice(0), "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    "switch": sys.getswitchinterval(), "recursion": sys.getrecursionlimit(),
    "gc": gc.get_threshold(),
    "logging": [logging.getLogger().level, [str(type(one)) for one in logging.getLogger().handlers]],
    "magics": sorted(shell.magics_manager.magics["line"]) + sorted(shell.magics_manager.magics["cell"]),
    "connection": sorted(json.load(open(shell.kernel.parent.connection_file)).items()),
    "gui": [str(shell.active_eventloop), str(shell.pylab_gui_select)],
    "clock": abs(time.time() - datetime.datetime.now().timestamp()) < 1,
}
for name, value in told.items():
    print(name, json.dumps(value, sort_keys=True, default=str))
"""
    }
)
