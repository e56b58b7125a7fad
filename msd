# limiar as a service of systemd 252 or newer: `scripts/install_pi --service` installs it. docs/field.md explains it.
# Change it with `sudo systemctl edit limiar`, not here: an update replaces this file.

[Unit]
Description=limiar: answers the images of folders and cameras
# For as long as it takes: a device in the field has nobody who would start it again.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/opt/limiar/venv/bin/limiar run /etc/limiar/limiar.toml
ExecReload=/bin/kill -HUP $MAINPID
Environment=LIMIAR_STATE=/var/lib/limiar
# limiar waits longer and longer before it starts a part again; this is for its main process.
Restart=always
RestartSec=5
# Fed while work is finished, also while a model loads.
WatchdogSec=30
TimeoutStartSec=180
TimeoutStopSec=10
# A worker that runs out of memory is replaced; the service goes on.
OOMPolicy=continue

User=limiar
Group=limiar
UMask=0027
StateDirectory=limiar
StateDirectoryMode=0750
# Where images arrive, and are moved to done/ and quarantine/. Other folders: ReadWritePaths= in a drop-in.
ReadWritePaths=-/srv/limiar

# No network, not even loopback; Unix sockets work.
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
# No devices but null, zero, random and the like. A Pi's temperature and throttling are in /sys.
PrivateDevices=yes
DevicePolicy=closed

ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateUsers=yes
PrivateIPC=yes
RemoveIPC=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
# Nothing here makes code while it runs.
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
