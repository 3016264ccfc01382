// What an emulated processor lacks and a real one's firmware tells: two frequencies and two idle states, so that
// governors and C-states can be chosen, and are seen to be. The registers are ports that nobody listens to; nothing runs
// faster or slower. The deeper idle state is one that no governor picks: to enter it is to read a port, which returns
// at once.
DefinitionBlock ("", "SSDT", 2, "LABKIT", "CPUS", 1)
{
    External (\_SB.CPUS.C000, DeviceObj)
    External (\_SB.CPUS.C001, DeviceObj)
    External (\_SB.CPUS.C002, DeviceObj)

    // Control and status.
    Name (\PCTL, Package () {
        ResourceTemplate () { Register (SystemIO, 8, 0, 0x0600) },
        ResourceTemplate () { Register (SystemIO, 8, 0, 0x0601) }
    })
    // MHz, mW, latency of a transition and of the bus master in us, control and status.
    Name (\PSTA, Package () {
        Package () { 2000, 2000, 10, 10, 2, 2 },
        Package () { 1000, 1000, 10, 10, 1, 1 }
    })
    // Register, type, latency in us, mW. The first is HLT.
    Name (\CSTA, Package () {
        2,
        Package () { ResourceTemplate () { Register (FFixedHW, 0, 0, 0) }, 1, 1, 1000 },
        Package () { ResourceTemplate () { Register (SystemIO, 8, 0, 0x0602) }, 2, 60000000, 500 }
    })

    Scope (\_SB.CPUS.C000) {
        Method (_PCT) { Return (\PCTL) }
        Method (_PSS) { Return (\PSTA) }
        Method (_PPC) { Return (0) }
        Method (_CST) { Return (\CSTA) }
    }
    Scope (\_SB.CPUS.C001) {
        Method (_PCT) { Return (\PCTL) }
        Method (_PSS) { Return (\PSTA) }
        Method (_PPC) { Return (0) }
        Method (_CST) { Return (\CSTA) }
    }
    Scope (\_SB.CPUS.C002) {
        Method (_PCT) { Return (\PCTL) }
        Method (_PSS) { Return (\PSTA) }
        Method (_PPC) { Return (0) }
        Method (_CST) { Return (\CSTA) }
    }
}
