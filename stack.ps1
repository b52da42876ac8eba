<#
.SYNOPSIS
    The daily handling of the stack in containers on Windows: the verbs of `make`, one to a call.

.DESCRIPTION
    Needs Docker Desktop and Python 3.10 or newer (the launcher `py`, or `python` on PATH). The verbs
    themselves are `python -m stack VERB`, the same that `make VERB` runs elsewhere; the embedded
    stack needs a POSIX system, so STACK is always compose here.

    Not run by us: no PowerShell can be had where this project is built. There its grammar is parsed,
    its verbs are compared with those of the Python module, and its native calls are kept to one.

.PARAMETER Verb
    env, up, ps, logs, check, trigger, verify, rollups, doctor, smoke, backup, restore, down, reset
    or destroy.

.PARAMETER Yes
    Answer the question of reset, restore and destroy.

.PARAMETER Data
    With reset: only raw events, which are then read again.

.PARAMETER Bundle
    With logs: write an archive for support, without secrets, instead of following the logs.

.PARAMETER File
    With restore: the backup; without it the newest.

.EXAMPLE
    .\stack.ps1 up

.EXAMPLE
    .\stack.ps1 restore -File backups\restaurant_analytics-20260101T000000Z.dump -Yes
#>
[CmdletBinding()]
param(
    [Parameter(Position = 0)]
    [ValidateSet('help', 'env', 'up', 'ps', 'logs', 'check', 'trigger', 'verify', 'rollups', 'doctor',
        'smoke', 'backup', 'restore', 'down', 'reset', 'destroy')]
    [string] $Verb = 'help',
    [switch] $Yes,
    [switch] $Data,
    [switch] $Bundle,
    [string] $File
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

function Find-Python {
    foreach ($name in @('py', 'python3', 'python')) {
        $found = Get-Command -Name $name -CommandType Application -ErrorAction SilentlyContinue |
            Select-Object -First 1
        if ($found) {
            return $found.Source
        }
    }
    throw 'Python is not installed, or not on PATH: version 3.10 or newer is needed'
}

$python = Find-Python
$arguments = if ($Verb -eq 'help') { @('-m', 'stack', '--help') } else { @('-m', 'stack', $Verb) }

# What lasts for this call only is put back afterwards: the caller's session must not keep it.
$wanted = @{ STACK = 'compose'; PYTHONUTF8 = '1'; PYTHONDONTWRITEBYTECODE = '1' }
if ($Yes) { $wanted['YES'] = '1' }
if ($Data) { $wanted['DATA'] = '1' }
if ($Bundle) { $wanted['BUNDLE'] = '1' }
if ($File) { $wanted['FILE'] = (Resolve-Path -LiteralPath $File).Path }

$before = @{}
$code = 1
Push-Location -LiteralPath $PSScriptRoot
try {
    foreach ($name in $wanted.Keys) {
        $before[$name] = [Environment]::GetEnvironmentVariable($name)
        [Environment]::SetEnvironmentVariable($name, $wanted[$name])
    }
    & $python @arguments
    $code = $LASTEXITCODE
}
finally {
    foreach ($name in $before.Keys) {
        [Environment]::SetEnvironmentVariable($name, $before[$name])
    }
    Pop-Location
}
exit $code
