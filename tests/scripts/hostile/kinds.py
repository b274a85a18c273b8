"""Objects of size n that name one long thing again and again, or have very many of one thing."""
from objgen import *
K={}
def kind(f): K[f.__name__]=f; return f
@kind
def ext_groups_long_name(n):
    "n groups of .BTF.ext that all name one long string"
    s=Strs(); long=s.add('x'*(16*n)); o=base(EXIT)
    g=[(long,struct.pack('<II',0,1))]*n
    o.sec('.BTF',data=btf(ty(0,1,0,4)+b'\0\0\0\0',bytes(s.b))); o.sec('.BTF.ext',data=ext(func=table(8,g))); return o.build()
@kind
def line_long_file(n):
    s=Strs(); long=s.add('x'*(16*n)); sec=s.add('xdp'); o=base(MOV(0,0)*(n-1)+EXIT)
    r=b''.join(struct.pack('<IIII',8*i,long,long,(i+1)<<10) for i in range(n))
    o.sec('.BTF',data=btf(ty(0,1,0,4)+b'\0\0\0\0',bytes(s.b))); o.sec('.BTF.ext',data=ext(line=table(16,[(sec,r)]))); return o.build()
@kind
def core_long_access(n):
    s=Strs(); acc=s.add('0'+':0'*(8*n)); sec=s.add('xdp'); o=base(MOV(0,0)*(n-1)+EXIT)
    r=b''.join(struct.pack('<IIII',8*i,1,acc,0) for i in range(n-1))
    types=ty(0,3,0,0)+struct.pack('<III',1,1,1)
    o.sec('.BTF',data=btf(types,bytes(s.b))); o.sec('.BTF.ext',data=ext(core=table(16,[(sec,r)]))); return o.build()
@kind
def bad_insns_long_section(n):
    return base(insn(0xff)*n,name='s'*(8*n)).build()
@kind
def functions_long_section(n):
    o=Obj(); c=o.code('s'*(16*n),EXIT*n); o.sym('',0,0,SECT,c)
    for i in range(n): o.sym('f%d'%i,8*i,8,FUNC,c)
    return o.build()
@kind
def many_functions(n):
    o=Obj(); c=o.code('xdp',(MOV(0,1)+EXIT)*n)
    for i in range(n): o.sym('f%d'%i,16*i,16,FUNC,c)
    return o.build()
@kind
def switch(n):
    return base(b''.join(JEQ(1,i,1)+JA(1)+MOV(0,i) for i in range(n))+EXIT).build()
@kind
def ext_groups_that_are_ends(n):
    "n groups of .BTF.ext whose names all end in one string, each of another length"
    s=Strs(); long=s.add('x'*(16*n)); o=base(EXIT)
    g=[(long+i,struct.pack('<II',0,1)) for i in range(n)]
    o.sec('.BTF',data=btf(ty(0,1,0,4)+b'\0\0\0\0',bytes(s.b))); o.sec('.BTF.ext',data=ext(func=table(8,g))); return o.build()
@kind
def line_long_blanks(n):
    "n lines of nothing but blanks"
    s=Strs(); file=s.add('f.c'); long=s.add(' '*(16*n)+'x'+' '*(16*n)); sec=s.add('xdp'); o=base(MOV(0,0)*(n-1)+EXIT)
    r=b''.join(struct.pack('<IIII',8*i,file,long,(i+1)<<10) for i in range(n))
    o.sec('.BTF',data=btf(ty(0,1,0,4)+b'\0\0\0\0',bytes(s.b))); o.sec('.BTF.ext',data=ext(line=table(16,[(sec,r)]))); return o.build()
@kind
def line_out_of_order(n):
    "n lines from the last to the first, and as many findings"
    s=Strs(); file=s.add('f'*(4*n)); sec=s.add('xdp'); o=base(MOV(0,0)*(n-1)+EXIT)
    r=b''.join(struct.pack('<IIII',8*i,file,file,(i+1)<<10) for i in reversed(range(n)))
    o.sec('.BTF',data=btf(ty(0,1,0,4)+b'\0\0\0\0',bytes(s.b))); o.sec('.BTF.ext',data=ext(line=table(16,[(sec,r)]))); return o.build()
@kind
def line_no_utf8(n):
    "n lines of one long string that is no text"
    s=Strs(); long=s.add(b'\xff'*(16*n)); sec=s.add('xdp'); o=base(MOV(0,0)*(n-1)+EXIT)
    r=b''.join(struct.pack('<IIII',8*i,long,long,(i+1)<<10) for i in range(n))
    o.sec('.BTF',data=btf(ty(0,1,0,4)+b'\0\0\0\0',bytes(s.b))); o.sec('.BTF.ext',data=ext(line=table(16,[(sec,r)]))); return o.build()
def cores(n,types,access,strs):
    sec=strs.add('xdp'); o=base(MOV(0,0)*(n-1)+EXIT)
    r=b''.join(struct.pack('<IIII',8*i,1,access,0) for i in range(n-1))
    o.sec('.BTF',data=btf(types,bytes(strs.b))); o.sec('.BTF.ext',data=ext(core=table(16,[(sec,r)]))); return o.build()
@kind
def core_long_number(n):
    "n accesses by an index of very many digits"
    s=Strs(); acc=s.add('0:'+'0'*(16*n)); return cores(n,ty(0,4,1,0)+struct.pack('<III',0,1,0),acc,s)
@kind
def core_long_members(n):
    "n accesses to members of members, all of one long name"
    s=Strs(); long=s.add('m'*(16*n)); acc=s.add('0'+':0'*60); return cores(n,ty(long,4,1,0)+struct.pack('<III',long,1,0),acc,s)
@kind
def core_deep_types(n):
    "n accesses through n modifiers"
    s=Strs(); acc=s.add('0:0'); return cores(n,b''.join(ty(0,10,0,i+2) for i in range(n))+ty(0,1,0,4)+struct.pack('<I',32),acc,s)
@kind
def core_many_members(n):
    "n accesses to the last of very many members"
    s=Strs(); m=s.add('m'); k=min(n,65535); acc=s.add('0:%d'%(k-1)); return cores(n,ty(m,4,k,0)+struct.pack('<III',m,1,0)*k,acc,s)
@kind
def same_slot_symbols(n):
    "n functions at one place"
    o=Obj(); c=o.code('xdp',EXIT); o.sym('',0,0,SECT,c)
    for i in range(n): o.sym('f%d'%i,0,8,FUNC,c)
    return o.build()
@kind
def overlapping_functions(n):
    "n functions that all go to the end of the section, of long names"
    o=Obj(); c=o.code('x'*(8*n),EXIT*n); o.sym('',0,0,SECT,c)
    for i in range(n): o.sym('f%d'%i,8*i,8*(n-i),FUNC,c)
    return o.build()
@kind
def one_name_sections(n):
    "n sections of one long name, each with code"
    o=Obj()
    for i in range(min(n,60000)): c=o.code('s'*64,EXIT); o.sym('f%d'%i,0,8,FUNC,c)
    return o.build()
@kind
def relocations_long_symbol(n):
    "n relocations against one symbol of a long name"
    o=Obj(); d=o.sec('.data',1,3,b'\0'*8,align=8); c=o.code('xdp',LD64(1,0)*n+EXIT); o.sym('f',0,16*n+8,FUNC,c)
    y=o.sym('v'*(16*n),0,8,0x11,d); o.rel(c,[(16*i,y,1) for i in range(n)]); return o.build()
@kind
def relocations_long_section(n):
    "n relocations against a section of a long name"
    o=Obj(); d=o.sec('d'*(16*n),1,3,b'\0'*8,align=8); c=o.code('xdp',LD64(1,0)*n+EXIT); o.sym('f',0,16*n+8,FUNC,c)
    y=o.sym('',0,0,SECT,d); o.rel(c,[(16*i,y,1) for i in range(n)]); return o.build()
@kind
def calls_long_function(n):
    "n calls of one function of a long name"
    o=Obj(); t=o.code('.text',EXIT); y=o.sym('g'*(16*n),0,8,FUNC,t); c=o.code('xdp',CALL(-1)*n+EXIT); o.sym('f',0,8*n+8,FUNC,c)
    o.rel(c,[(8*i,y,10) for i in range(n)]); return o.build()
@kind
def calls_no_function(n):
    "n calls of a place in a section of a long name where no function starts"
    o=Obj(); t=o.code('t'*(16*n),EXIT*2); y=o.sym('',0,0,SECT,t); c=o.code('xdp',CALL(0)*n+EXIT); o.sym('f',0,8*n+8,FUNC,c)
    o.rel(c,[(8*i,y,10) for i in range(n)]); return o.build()
@kind
def dead_functions(n):
    "n static functions that nothing calls"
    o=Obj(); c=o.code('.text',EXIT*n); o.sym('',0,0,SECT,c)
    for i in range(n): o.sym('dead%d'%i,8*i,8,LFUNC,c)
    p=o.code('xdp',EXIT); o.sym('p',0,8,FUNC,p); return o.build()
@kind
def debug_sections(n):
    "n sections for debuggers, all of one name, and code to delete"
    o=base(EXIT+MOV(0,1)+EXIT)
    for i in range(min(n,60000)): o.sec('.debug_'+'x'*32,1,0,b'\0'*8)
    return o.build()
@kind
def call_chain(n):
    "n functions, each of which calls the next one"
    o=Obj(); c=o.code('xdp',(CALL(1)+EXIT)*(n-1)+MOV(0,0)+EXIT)
    for i in range(n): o.sym('f%d'%i,16*i,16,FUNC,c)
    return o.build()
@kind
def jumps_to_the_end(n):
    "n jumps to one place, as far as they reach"
    return base(b''.join(JEQ(1,i,min(n-1-i,32000)) for i in range(n))+MOV(0,0)+EXIT).build()
@kind
def falls_off(n):
    "n functions without an end"
    o=Obj(); c=o.code('xdp',MOV(0,0)*n)
    for i in range(n): o.sym('f%d'%i,8*i,8,FUNC,c)
    return o.build()
