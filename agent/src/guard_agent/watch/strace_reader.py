"""Turn lines of strace into events of the wire (section 2.1), in the order of the log.

`timestamp` is ns since the epoch. A call that was interrupted in the log carries the time of the line that
finished it, so time never runs backwards inside one log. A new pid while exactly one process is inside fork
is its child.
"""

import signal
from typing import Any, Final

from guard_agent.watch.alphabet import EXEC_CALLS, FORK_CALLS
from guard_agent.watch.fold import Event, Fold
from guard_agent.watch.pending import Pending, PendingCalls
from guard_agent.watch.process_files import follow_call, name_program
from guard_agent.watch.processes import Process, ProcessTable, StartOf, start_at_first_event
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace_args import cut_argv, read_arguments
from guard_agent.watch.strace_line import (
    MAX_PID,
    Prefix,
    Result,
    cut_unfinished,
    read_name,
    read_plain_result,
    read_prefix,
    read_resumed,
    read_strings,
    split_call,
)
from guard_agent.watch.strace_shapes import is_worth_keeping

_DAY_NS: Final = 86_400_000_000_000
_MAX_DIGITS: Final = 10
_ENDED_WORDS: Final = 4  # of "+++ exited with 0 +++" before the last
_NOTES: Final = ("strace: ", "Process ", "[ Process PID=")
_SIGNALS: Final = {item.name: int(item) for item in signal.Signals}


class StraceReader:
    """Turns lines into events, one line at a time.

    Args:
        fold: join consecutive calls of one thread that carry no argument into one `calls` event.
        start_of: gives a process's `start` from its pid and the time of its first event.
        directory: working directory of the first process.
        midnight_ns: the day (ns since the epoch at its start) that `-t` and `-tt` times belong to.
        only_pid: the pid of a log without a pid column.
    """

    def __init__(
        self,
        *,
        fold: bool = False,
        start_of: StartOf = start_at_first_event,
        directory: str | None = None,
        midnight_ns: int = 0,
        only_pid: int = 0,
    ) -> None:
        self.report = ReadReport()
        self.processes = ProcessTable(start_of)
        self._folding = fold
        self._fold = Fold()
        self._directory = directory
        self._midnight = midnight_ns
        self._only_pid = only_pid
        self._pending = PendingCalls()
        self._last_ns = 0
        self._out: list[Event] = []
        self._marks = (
            ("--- ", self._signalled),
            ("+++ ", self._ended),
            ("<... ", self._resumed),
            ("????", self._unnamed),
        )

    def feed(self, line: bytes | str) -> list[Event]:
        """Read one line; return the events it completes, in order."""
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        text = text.rstrip("\r\n")
        self.report.lines += 1
        if not text.strip():
            self.report.without_event["empty"] += 1
        elif not self._read(text):
            self.report.keep(text)
        return self._take()

    def finish(self) -> list[Event]:
        """Return what was still folded; calls that never returned make no event."""
        self._fold.close_into(self._out)
        self.report.unfinished += len(self._pending)
        return self._take()

    def _take(self) -> list[Event]:
        out, self._out = self._out, []
        self.report.events += len(out)
        return out

    def _read(self, text: str) -> bool:
        prefix = read_prefix(text)
        if prefix is None:
            return False
        rest = text[prefix.rest_at :]
        name = read_name(rest)
        tid = self._only_pid if prefix.pid is None else prefix.pid
        if name is not None:
            return self._called(tid, self._time(prefix), name, rest[len(name) + 1 :])
        if rest.startswith(_NOTES) or text.startswith(_NOTES):
            self.report.without_event["strace note"] += 1
            return True
        for mark, read in self._marks:
            if rest.startswith(mark):
                return read(tid, self._time(prefix), rest)
        return False

    def _signalled(self, _tid: int, _ns: int, rest: str) -> bool:
        if not rest.endswith(" ---"):
            return False
        self.report.without_event["signal"] += 1
        return True

    def _unnamed(self, _tid: int, _ns: int, _rest: str) -> bool:
        self.report.without_event["call unknown to strace"] += 1
        return True

    def _time(self, prefix: Prefix) -> int:
        ns = prefix.ns
        if ns is None:
            ns = self._last_ns + 1000 if self._last_ns else self._midnight
        elif prefix.day_ns:
            ns += self._midnight
            if ns + _DAY_NS // 2 < self._last_ns:
                self._midnight += _DAY_NS
                ns += _DAY_NS
        self._last_ns = max(ns, 0)
        return self._last_ns

    def _called(self, tid: int, ns: int, name: str, text: str) -> bool:
        cut = cut_unfinished(text)
        if cut is None:
            return self._completed(tid, ns, name, text)
        so_far, moved_to = cut
        self._process(tid, ns)
        if name == "exit_group":
            self._exit_group(tid, ns, so_far)
            return True
        self._pending.begin(tid if moved_to is None else moved_to, name, so_far, forks=name in FORK_CALLS)
        self.report.without_event["begins a call"] += 1
        return True

    def _resumed(self, tid: int, ns: int, rest: str) -> bool:
        resumed = read_resumed(rest)
        if resumed is None:
            return False
        name, at = resumed
        pending = self._pending.take(tid)
        if name.startswith("????"):
            self.report.without_event["call unknown to strace"] += 1
            return True
        if pending is None or pending.name != name:
            # Begun before the log, or an exit that is already told: the result alone still makes an event.
            if name in ("exit_group", "exit"):
                self.report.without_event["end of an exit"] += 1
                return True
            return self._plain(tid, ns, name, rest[at:]) if read_plain_result(rest[at:]) else False
        return self._completed(tid, ns, name, pending.text + rest[at:])

    def _completed(self, tid: int, ns: int, name: str, text: str) -> bool:
        if name == "exit_group":
            self._process(tid, ns)
            self._exit_group(tid, ns, text)
            return True
        if not is_worth_keeping(name, text) and name not in FORK_CALLS:
            return self._plain(tid, ns, name, text)
        split = split_call(text)
        if split is None:
            return False
        arguments, result = split
        if name in FORK_CALLS:
            self._forked(tid, ns, name, arguments, result)
            return True
        process = self._process(tid, ns)
        directory = process.directory
        kept = read_arguments(name, arguments, result, directory)
        follow_call(process, name, arguments, kept, result)
        if name in EXEC_CALLS:
            argv = (
                cut_argv(read_strings(arguments[2 if name == "execveat" else 1]))
                if len(arguments) > 1
                else []
            )
            if argv:
                kept["argv"] = argv
        kind = "exec" if name in EXEC_CALLS and result.errno is None and (result.ret or 0) >= 0 else "call"
        event = self._event(kind, process, tid, ns)
        if kind == "exec":
            event["exe"] = name_program(process, kept)
            process.memfds = {}
        event["syscall"] = name
        if kept:
            event["args"] = kept
        _put_result(event, result)
        self._emit(event)
        return True

    def _plain(self, tid: int, ns: int, name: str, text: str) -> bool:
        result = read_plain_result(text)
        if result is None:
            return False
        process = self._process(tid, ns)
        self.report.calls += 1
        if self._folding:
            if not self._fold.join(process, tid, ns, name):
                self._fold.close_into(self._out)
                self._fold.begin(self._event("calls", process, tid, ns), name)
            return True
        event = self._event("call", process, tid, ns)
        event["syscall"] = name
        _put_result(event, result)
        self._out.append(event)
        return True

    def _emit(self, event: Event) -> None:
        self._fold.close_into(self._out)
        self.report.calls += "syscall" in event
        self._out.append(event)

    def _event(self, kind: str, process: Process, tid: int, ns: int) -> Event:
        event: Event = {"kind": kind, "timestamp": ns, "pid": process.pid, "start": process.start}
        if process.ppid is not None and not process.named_parent:
            event["ppid"] = process.ppid
            process.named_parent = True
        if tid != process.pid:
            event["tid"] = tid
        return event

    def _process(self, tid: int, ns: int) -> Process:
        """Return the process of a thread; a stranger is the child of the one process that is inside fork."""
        process = self.processes.find(tid)
        if process is not None and not process.exited:
            return process
        inside = self._pending.only_fork()
        if inside is not None:
            parent = self.processes.find(inside[0])
            if parent is not None and inside[0] != tid:
                return self._bear(inside[0], parent, tid, ns, inside[1])
        new = self.processes.add(tid, ns)
        new.orphan = self._pending.any_fork
        if self.processes.seen == 1:
            new.directory = self._directory
        return new

    def _bear(self, parent_tid: int, parent: Process, tid: int, ns: int, fork: Pending) -> Process:
        if "CLONE_THREAD" in fork.text:
            self._pending.take_fork(parent_tid)
            self.processes.add_thread(tid, parent)
            return parent
        self._pending.bear(parent_tid, tid)
        child = self.processes.add(tid, ns, parent)
        self.report.forks_ahead += 1
        self._tell_fork(parent, parent_tid, child, ns, fork.name)
        return child

    def _forked(self, tid: int, ns: int, name: str, arguments: list[str], result: Result) -> None:
        parent = self._process(tid, ns)
        born = self._pending.take_born(tid)
        child_tid = result.ret
        kept = read_arguments(name, arguments, result, None)
        if result.errno is not None or child_tid is None or not 0 < child_tid <= MAX_PID:
            self._emit_call(parent, tid, ns, name, kept, result)
            return
        if born == child_tid:
            self.report.without_event["fork told before"] += 1
            return
        known = self.processes.find(child_tid)
        if any("CLONE_THREAD" in argument for argument in arguments):
            self._adopt_thread(parent, child_tid, known)
            self._emit_call(parent, tid, ns, name, kept, result)
            return
        if known is not None and known.orphan:
            known.ppid, known.orphan = parent.pid, False
            known.directory = known.directory or parent.directory
            child = known
        else:
            child = self.processes.add(child_tid, ns, parent)
        self._tell_fork(parent, tid, child, ns, name, kept)

    def _adopt_thread(self, parent: Process, tid: int, known: Process | None) -> None:
        if known is not None and known is not parent:
            self.processes.remove(known)
        self.processes.add_thread(tid, parent)

    def _emit_call(
        self, process: Process, tid: int, ns: int, name: str, kept: dict[str, Any], result: Result
    ) -> None:
        event = self._event("call", process, tid, ns)
        event["syscall"] = name
        if kept:
            event["args"] = kept
        _put_result(event, result)
        self._emit(event)

    def _tell_fork(
        self,
        parent: Process,
        tid: int,
        child: Process,
        ns: int,
        name: str,
        kept: dict[str, Any] | None = None,
    ) -> None:
        event = self._event("fork", parent, tid, ns)
        event |= {"syscall": name, "child_pid": child.pid, "child_start": child.start}
        if kept:
            event["args"] = kept
        event["ret"] = child.pid
        self._emit(event)

    def _exit_group(self, tid: int, ns: int, text: str) -> None:
        process = self.processes.find(tid)
        if process is None or process.exited:
            return
        self._exit(process, tid, ns, _exit_code(text.split(")", 1)[0].strip()), "exit_group")

    def _exit(
        self,
        process: Process,
        tid: int,
        ns: int,
        code: int,
        syscall: str | None,
        killed_by: str | None = None,
    ) -> None:
        process.exited = True
        event = self._event("exit", process, tid, ns)
        if syscall is not None:
            event["syscall"] = syscall
        event["code"] = code
        if killed_by is not None:
            event["metadata"] = {"signal": killed_by}
        self._emit(event)

    def _ended(self, tid: int, ns: int, rest: str) -> bool:
        words = rest.split()
        if rest.startswith("+++ superseded by execve in pid "):
            self._superseded(tid)
            return True
        if len(words) < _ENDED_WORDS or words[-1] != "+++" or words[1] not in ("exited", "killed"):
            return False
        self._pending.take_born(tid)
        self.report.unfinished += self._pending.take(tid) is not None
        process = self.processes.find(tid) or self._process(tid, ns)
        if tid != process.pid:
            self.processes.remove_thread(tid, process)
            self.report.without_event["end of a thread"] += 1
            return True
        if process.exited:
            self.report.without_event["end of an exit"] += 1
        elif words[1] == "killed":
            self._exit(process, tid, ns, 128 + _SIGNALS.get(words[3], 0), None, words[3][:32])
        else:
            self._exit(process, tid, ns, _exit_code(words[3]), None)
        self.processes.remove(process)
        return True

    def _superseded(self, tid: int) -> None:
        self.report.without_event["thread became the process"] += 1
        process = self.processes.find(tid)
        if process is None:
            return
        for thread in tuple(process.threads):
            if thread != process.pid:
                self.processes.remove_thread(thread, process)
                self._pending.take(thread)


def _exit_code(digits: str) -> int:
    return int(digits) & 0xFF if digits.isdecimal() and len(digits) < _MAX_DIGITS else 0


def _put_result(event: Event, result: Result) -> None:
    if result.ret is not None:
        event["ret"] = result.ret
    if result.errno is not None:
        event["errno"] = result.errno
