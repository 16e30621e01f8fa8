"""The risk engine of one agent: (state, event, profiles, rules) -> (state, effects), and nothing else.

Invariants: no clock, no randomness, no hash order; the same events in position order give the same states,
rows and crossings whatever the batch sizes, evictions and restarts; a quiet call allocates nothing that
lasts.
"""

from typing import Any, Final

from guardhouse.analysis.risk.act import EXEC_CALLS, Act, clean_path, opens_for_writing, path_of
from guardhouse.analysis.risk.agent_state import AgentState
from guardhouse.analysis.risk.effects import Effects, Input
from guardhouse.analysis.risk.event import SILENCE_US, RiskEvent
from guardhouse.analysis.risk.evidence import NAT
from guardhouse.analysis.risk.facts import BUCKET_US
from guardhouse.analysis.risk.match import MAX_PLANS, CallPlan
from guardhouse.analysis.risk.novelty import imported_alert, new_edge, new_path, rare_sequence
from guardhouse.analysis.risk.observe import STDIO
from guardhouse.analysis.risk.process import INET, LOST_ON_EXEC, STDIO_SOCKET, Process
from guardhouse.analysis.risk.profile import Profile, Profiles
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.run import LONG_RUN_US
from guardhouse.analysis.risk.show_heads import show_heads
from guardhouse.analysis.risk.surprise import CONTEXT_MASK

ENGINE_VERSION: Final = 1
LONG_MEMORY: Final = 50  # calls the running mean looks back over
FIRST_JUDGED: Final = 10  # the call from which on the mean is judged


class AgentEngine(AgentState):
    """All live processes of ONE agent. Apply events in position order; take what changed; store it; go on."""

    __slots__ = ("_boot", "_pids", "_plans")

    def __init__(self, rules: RuleSet, profiles: Profiles | None = None) -> None:
        super().__init__(rules, profiles)
        self._plans: dict[str, CallPlan] = {}
        self._boot: str | None = None
        self._pids: dict[int, Process] = {}

    def use_rules(self, rules: RuleSet) -> None:
        """Judge by other rules from the next event on; states keep what they have."""
        self.rules = rules
        self.instances.rules = rules
        self._plans.clear()

    # -- events -------------------------------------------------------------------------------------------

    def apply(self, event: RiskEvent) -> Effects | None:  # noqa: C901, PLR0912 - one flat path: calls cost time here
        """Apply one event; what it has to say, or None when it was quiet or its position has been applied."""
        (position, _id, us, kind, pid, tid, _ppid, start, boot, exe, _comm, call, _ret, _errno, args, _names,
         _child, _child_start, _code, _alphabet, _late, _extra) = event  # fmt: skip
        if kind != "call" or pid is None or call is None:
            return self._apply_other(event)
        if position <= self.position:
            return None
        if us > self.clock_us:
            self.clock_us = us
            if us >= self.alarm_us:
                self._alarm(us)
        self.received += 1
        if boot != self._boot:
            self._boot = boot
            self._pids = self.instances.boots.setdefault(boot, {})
        process = self._pids.get(pid)
        if (
            process is None
            or (start is not None and start != process.start)
            or process.exited_us is not None
            or self.clock_us - process.last_us > SILENCE_US
        ):
            process = self._process(event, pid)
        if us > process.last_us:
            process.last_us = us
        else:
            us = process.last_us
        plan = self._plans.get(call)
        if plan is None:
            plan = self._plan(call)
        if exe is not None and exe != process.exe and call not in EXEC_CALLS:
            self._adopt(process, exe, position - 1)
        process.calls += 1
        process.last_position = position
        second = us // 1_000_000
        if second == process.second:
            process.second_sum += plan.weight
            process.second_count += 1
        else:
            process.count_call(second, plan.weight, 1)
            if process.run is not None and us - process.run.started_us > LONG_RUN_US:
                self.cut_run(process, position, us)
        if process.profile is not None or process.traces is not None:
            self._follow(process, plan.number, tid, event, us)
        if plan.loud:
            self._loud(plan, event, process, us, args)
        if not process.dirty:
            process.dirty = True
            self.scorer.unsaved.append(process)
        self.position = position
        if self.scorer.pending:
            return self.scorer.finish(position, us)
        return None

    def _apply_other(self, event: RiskEvent) -> Effects | None:
        kind = event.kind
        if kind == "exec" and event.pid is not None:
            return self.apply(event._replace(kind="call", call=event.call or "execve"))
        if event.position <= self.position:
            return None
        if event.occurred_us > self.clock_us:
            self.clock_us = event.occurred_us
            if event.occurred_us >= self.alarm_us:
                self._alarm(event.occurred_us)
        now_us = self.clock_us
        if kind == "loss":
            self._lost(event)
        elif event.pid is not None:
            process = self._process(event, event.pid)
            now_us = max(event.occurred_us, process.last_us)
            if kind == "fork":
                if event.exe is not None and event.exe != process.exe:
                    self._adopt(process, event.exe, event.position - 1)
                self._fork(event, process, now_us)
                return self.apply(event._replace(kind="call", call=event.call or "fork"))
            self._note(event, process, now_us)
        self.position = event.position
        return self.scorer.finish(event.position, now_us) if self.scorer.pending else None

    def _note(self, event: RiskEvent, process: Process, now_us: int) -> None:
        """An event that is no single call: a burst, an exit, an alert, a process of the inventory."""
        kind = event.kind
        self.received += 1
        self.judge.position = event.position
        process.last_us = now_us
        process.last_position = event.position
        process.others += 1
        self.scorer.soil(process)
        if kind == "calls":
            self._burst(event, process, now_us)
        elif kind == "exit":
            process.exited_us = now_us
            self.scorer.end_run(process, event.position, self.heard())
            self.scorer.touch(process, "exit")
        elif kind == "finding":
            if process.exe is None and event.exe is not None:
                self._adopt(process, event.exe, event.position - 1)
            self.judge.weigh(process, imported_alert(event), now_us)
        elif kind == "inventory" and event.exe is not None and event.exe != process.exe:
            self._adopt(process, event.exe, event.position - 1)

    def sweep(self, now_us: int) -> Effects | None:
        """Cooling without events: what has fallen by event time `now_us`, dated exactly.

        None when nothing.
        """
        self.scorer.cool(self.position, now_us)
        self.alarm_us = min(self.alarm_us, self.scorer.next_cool_us)
        return self.scorer.finish(self.position, now_us) if self.scorer.pending else None

    # -- processes ----------------------------------------------------------------------------------------

    def _process(self, event: RiskEvent, pid: int) -> Process:
        """The process of an event, begun and linked to its parent when it is new."""
        process = self.instances.find(event, pid, event.start, self.clock_us)
        if process is not None:
            return process
        placeholder = self.instances.placeholder(event, pid, self.clock_us)
        process = self.instances.begin(event, pid, event.start, event.occurred_us)
        self._bind_heads(process)
        parent: Process | None = None
        if placeholder is not None:
            # the fork did not know the child's start; its own first event does
            process.parent, process.root = placeholder.parent, placeholder.root
            parent = None if placeholder.parent is None else self.instances.states.get(placeholder.parent)
            placeholder.exited_us = event.occurred_us
            placeholder.run = None
            self.scorer.soil(placeholder)
        elif event.ppid is not None and event.ppid != pid:
            before = event.parent_start
            parent = self.instances.find_parent(event.boot_id, event.ppid, before, self.clock_us)
        if parent is not None and parent is not process:
            self._link(process, parent, event)
            self.begin_run(process, event.position - 1, process.last_us)
        if event.comm is not None:
            process.comm = event.comm
        self.scorer.touch(process, "first")
        self.scorer.soil(process)
        return process

    def _link(self, child: Process, parent: Process, event: RiskEvent) -> None:
        now_us = max(child.last_us, parent.last_us)
        child.started_us = child.last_us = max(child.started_us, event.occurred_us)
        if self.instances.link(child, parent, now_us) and child.slots is not None:
            evidence = [[slot.id, slot.detail, slot.nats] for slot in child.slots]
            data = {"from": list(parent.key), "evidence": evidence}
            self.scorer.note_input(Input(child.key, event.position, "inherited", data))

    def _fork(self, event: RiskEvent, parent: Process, now_us: int) -> None:
        pid = event.child_pid
        if pid is None or pid == event.pid:
            return
        start = event.child_start
        known = None if start is None else self.instances.find(event, pid, start, self.clock_us)
        if known is not None:
            if (
                known.parent is None
                and known is not parent
                and known.root == known.key
                and known.tree is None
            ):
                self._link(known, parent, event)
                self.scorer.soil(known)
            return
        child = self.instances.begin(event, pid, start, now_us)
        self._bind_heads(child)
        self._link(child, parent, event)
        self.begin_run(child, event.position, child.last_us)
        self.scorer.touch(child, "first")
        self.scorer.soil(child)

    def _adopt(self, process: Process, exe: str, after: int) -> None:
        """The program is another one than known: an exec that nobody reported, or the first word of it."""
        self.scorer.end_run(process, after, self.heard())
        process.exe = exe
        self.begin_run(process, after, process.last_us)
        process.restart_sequence()
        process.profile = None if self.profiles is None else self.profiles.newest(exe, process.alphabet)
        self._bind_heads(process)

    def _bind_heads(self, process: Process) -> None:
        """A program begins: verdict heads look at it from here on."""
        process.traces = None if self.heads is None else self.heads.bind(process.alphabet)

    def _follow(
        self, process: Process, number: int, tid: int | None, event: RiskEvent, now_us: int
    ) -> None:  # fmt: skip
        """One call further in the sequence of its thread: context, surprise, running mean, verdict heads."""
        if tid is not None and tid != process.thread:
            process.switch_thread(tid)
        key = ((process.context & CONTEXT_MASK) << 12) | number
        process.context = key
        if process.traces is not None and self.heads is not None:
            show_heads(self.heads, self.judge, process, key, event, now_us)
        profile = process.profile
        if profile is None:
            return
        bits = profile.memo.get(key)
        if bits is None:
            bits = profile.bits(key)
        seen = process.surprises
        if seen < LONG_MEMORY:
            seen += 1
            process.surprises = seen
        mean = process.mean
        mean += (bits - mean) // seen
        process.mean = mean
        if mean > profile.limit and seen >= FIRST_JUDGED:
            self._surprised(process, profile, key, bits, event.event_id, now_us)

    def _surprised(
        self, process: Process, profile: Profile, key: int, bits: int, event_id: bytes, now_us: int
    ) -> None:  # fmt: skip
        if bits > process.rarest_bits:
            process.rarest, process.rarest_bits = key, bits
        habit, _ = self.judge.habit(process, "seq.rare", "")
        found = rare_sequence(process, profile, event_id, now_us, self.losses.factor, habit)
        if found is not None:
            self.judge.weigh(process, found, now_us)

    # -- calls that are not quiet -------------------------------------------------------------------------

    def _plan(self, call: str) -> CallPlan:
        plan = CallPlan(call, self.rules)
        if len(self._plans) < MAX_PLANS:
            self._plans[call] = plan
        return plan

    def _loud(
        self, plan: CallPlan, event: RiskEvent, process: Process, now_us: int, args: dict[str, Any] | None
    ) -> None:  # fmt: skip
        """Rules first, on the state before the call; then what the engine notes; then what is new here."""
        self.judge.position = event.position
        path = path_of(plan.name, args) if args is not None else None
        act = self._match(plan, event, process, now_us, path)
        if plan.observe is not None:
            plan.observe(process, event)
        if event.failed:
            return
        if plan.opens and process.profile is not None:
            new = new_path(process, event, self.losses.factor)
            if new is not None:
                self.judge.weigh(process, new, now_us)
        elif plan.name in EXEC_CALLS:
            self._exec(act or self.judge.act(plan, event, process), now_us)
        elif plan.moves is not None and path is not None:
            self.judge.facts.move(clean_path(path), args, keep=plan.moves)

    def _match(
        self, plan: CallPlan, event: RiskEvent, process: Process, now_us: int, path: str | None
    ) -> Act | None:  # fmt: skip
        """Try the steps that watch this call; the act, when one had to be built."""
        act: Act | None = None
        watches = plan.plain
        if plan.opens and not opens_for_writing(plan.name, (event.args or {}).get("flags")):
            watches = plan.reading
        if plan.indexed and path is not None:
            found = plan.memo.get(path)
            if found is None:
                act = self.judge.act(plan, event, process)
                found = plan.candidates(path, act)
            if found:
                watches = (*watches, *found)
        flags = process.flags
        for rule, index, step in watches:
            if step.need_flag and flags & step.need_flag != step.need_flag:
                continue
            if act is None:
                act = self.judge.act(plan, event, process)
            if step.holds(act):
                self.judge.matched(rule, index, step, act, now_us)
        return act

    def _exec(self, act: Act, now_us: int) -> None:
        process, event = act.process, act.event
        exe = act.exe
        new = None if exe is None else new_edge(process, exe, event.event_id, self.losses.factor)
        if new is not None:
            self.judge.weigh(process, new, now_us)
        self.scorer.end_run(process, event.position, self.heard(), exe)
        process.flags &= ~(LOST_ON_EXEC & ~INET if process.flags & STDIO_SOCKET else LOST_ON_EXEC)
        if process.fds is not None:
            process.fds = {fd: kind for fd, kind in process.fds.items() if fd in STDIO} or None
        process.alphabet = event.alphabet
        if event.comm is not None:
            process.comm = event.comm
        if exe is not None:
            self._adopt(process, exe, event.position)
        else:
            process.restart_sequence()
            self.begin_run(process, event.position, now_us)
            self._bind_heads(process)
        self.scorer.touch(process, "exec")

    def _burst(self, event: RiskEvent, process: Process, now_us: int) -> None:
        """`calls`: many calls of one thread without arguments; one event, counted as its length."""
        names = event.names or ()
        self.received += max(0, len(names) - 1)
        process.calls += len(names)
        process.others -= 1 if names else 0
        weight_sum = 0
        followed = process.profile is not None or process.traces is not None
        for name in names:
            plan = self._plans.get(name) or self._plan(name)
            weight_sum += plan.weight
            if followed:
                self._follow(process, plan.number, event.tid, event, now_us)
            if plan.plain:
                single = event._replace(kind="call", call=name, names=None)
                for rule, index, step in plan.plain:
                    act = self.judge.act(plan, single, process)
                    needed = process.flags & step.need_flag == step.need_flag
                    if needed and step.others and step.holds(act):
                        self.judge.matched(rule, index, step, act, now_us)
        second = now_us // NAT
        if names and second == process.second:
            process.second_sum += weight_sum
            process.second_count += len(names)
        elif names:
            process.count_call(second, weight_sum, len(names))
            if process.run is not None and now_us - process.run.started_us > LONG_RUN_US:
                self.begin_run(process, event.position, now_us)

    def _alarm(self, us: int) -> None:
        """Event time passed a minute or the instant of a cooling; called before the event counts."""
        self.scorer.cool(self.position, us)
        minute_us = us - us % BUCKET_US
        if minute_us != self.minute_us:
            self._count_received()
            self.minute_us = minute_us
            self._moved(self.losses.add(us, 0, 0))
        self.alarm_us = min(minute_us + BUCKET_US, self.scorer.next_cool_us)

    def _count_received(self) -> None:
        if self.received:
            self._moved(self.losses.add(self.minute_us, self.received, 0))
            self.received = 0

    def _lost(self, event: RiskEvent) -> None:
        count = (event.extra or {}).get("count")
        if isinstance(count, int) and count > 0:
            self._count_received()
            self._moved(self.losses.add(self.clock_us, 0, count))

    def _moved(self, moved: bool) -> None:  # noqa: FBT001 - the answer of Losses.add
        if moved:
            data = {"sixteenths": self.losses.factor}
            self.scorer.note_input(Input(None, self.position, "loss_factor", data))
