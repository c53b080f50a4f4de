"""The fault harness: load and faults on the real services, and the proof that nothing is lost, repeated or altered.

schedule   what happens when, drawn from a seed and nothing else
load       rows in every way PostgreSQL offers to commit them late, invalid ones, and poison on the topic
crew       the producer and the consumers under torture, started, watched, restarted
rig        the services, the proxies before them, the pipeline's configuration, the crew
proxy      a TCP proxy that delays replies, loses them, or cuts connections
faults     each kind of fault, injected and taken back
watch      a reader that globs the lake all the time
commits    the commit log, held against the files it names
oracles    what must be true when the faults have ended
ledger     what was done, found and measured
limit      a bound on the time of all that
run        the order of all that

python -m torture --help
"""
